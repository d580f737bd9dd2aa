"""The rows of the library's tables, as values.  Each function is given a connection inside a transaction.

Knows SQL and nothing of files.
"""

from __future__ import annotations

from pierhead import jsontext
from pierhead.images.library.marking import Owner, Root
from pierhead.oci.document import decode, encode
from pierhead.oci.image import Descriptor
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection


class Image(Value):
    """A reference: a name, and what it stands for.

    Fields:
        name: as it was given; the library does not normalise.
        descriptor: of a manifest or an index.
        created_ns: when the name first stood for anything, in nanoseconds since 1970.
        updated_ns: when it came to stand for this.
    """

    name: str
    descriptor: Descriptor
    created_ns: int
    updated_ns: int


class Layer(Value):
    """A layer that a snapshotter has, upon those below it.

    Fields:
        snapshotter: its name.
        chain_id: names the layer with all that is below it, and its snapshot.
        diff_id: digest of the uncompressed archive.
        parent: chain id of what is below, "" for none.
        size_bytes: what it takes on the disk by itself.
        compressed_bytes: size of the content that it came from; 0 if that is not known.
        created_ns: when it was recorded.
    """

    snapshotter: str
    chain_id: str
    diff_id: str
    parent: str = ""
    size_bytes: int = 0
    compressed_bytes: int = 0
    created_ns: int = 0


# Images


def find_image(connection: Connection, name: str) -> Image | None:
    """The image of this name."""
    row = connection.execute("SELECT * FROM images WHERE name = ?", (name,)).fetchone()
    return _image(row) if row else None


def list_images(connection: Connection) -> tuple[Image, ...]:
    """All images by their names."""
    return tuple(_image(row) for row in connection.execute("SELECT * FROM images ORDER BY name"))


def put_image(connection: Connection, name: str, descriptor: Descriptor, now_ns: int) -> None:
    """The name stands for this."""
    connection.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " digest = excluded.digest, descriptor = excluded.descriptor, updated_ns = excluded.updated_ns",
        (name, descriptor.digest, jsontext.format_compact(encode(descriptor)), now_ns, now_ns),
    )


def delete_image(connection: Connection, name: str) -> None:
    """The name stands for nothing."""
    connection.execute("DELETE FROM images WHERE name = ?", (name,))


def _image(row: tuple[str, str, str, int, int]) -> Image:
    name, _, text, created_ns, updated_ns = row
    descriptor = decode(Descriptor, jsontext.parse(text, name=f"descriptor of {name}"), unknown=[])
    return Image(name=name, descriptor=descriptor, created_ns=created_ns, updated_ns=updated_ns)


# Pins


def list_pins(connection: Connection) -> tuple[list[Root], list[tuple[str, Owner]]]:
    """What leases hold: graphs, and single digests."""
    roots: list[Root] = []
    names: list[tuple[str, Owner]] = []
    rows = connection.execute(
        "SELECT pins.lease, leases.purpose, pins.digest, pins.media_type FROM pins JOIN leases ON id = lease"
    )
    for lease, purpose, digest, media_type in rows:
        owner = Owner(lease=lease, purpose=purpose)
        if media_type:
            descriptor = Descriptor(media_type=media_type, digest=digest, size=-1)
            roots.append(Root(owner=owner, descriptor=descriptor))
        else:
            names.append((digest, owner))
    return roots, names


def is_pinned(connection: Connection, name: str) -> bool:
    """Whether a lease holds this digest or chain id by itself."""
    return connection.execute("SELECT 1 FROM pins WHERE digest = ?", (name,)).fetchone() is not None


# Layers


def find_layer(connection: Connection, snapshotter: str, chain_id: str) -> Layer | None:
    """The layer, if the snapshotter has it."""
    row = connection.execute(
        "SELECT * FROM layers WHERE snapshotter = ? AND chain_id = ?", (snapshotter, chain_id)
    ).fetchone()
    return _layer(row) if row else None


def list_layers(connection: Connection) -> tuple[Layer, ...]:
    """All layers, in the order in which they were recorded."""
    rows = connection.execute("SELECT * FROM layers ORDER BY created_ns, chain_id")
    return tuple(_layer(row) for row in rows)


def put_layer(connection: Connection, layer: Layer) -> None:
    """The snapshotter has this layer."""
    connection.execute(
        "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            layer.snapshotter,
            layer.chain_id,
            layer.diff_id,
            layer.parent,
            layer.size_bytes,
            layer.compressed_bytes,
            layer.created_ns,
        ),
    )


def delete_layers(connection: Connection, layers: Iterable[tuple[str, str]]) -> None:
    """The snapshotters (first) no longer have the chain ids (second)."""
    connection.executemany("DELETE FROM layers WHERE snapshotter = ? AND chain_id = ?", list(layers))


def _layer(row: tuple[str, str, str, str, int, int, int]) -> Layer:
    snapshotter, chain_id, diff_id, parent, size_bytes, compressed_bytes, created_ns = row
    return Layer(
        snapshotter=snapshotter,
        chain_id=chain_id,
        diff_id=diff_id,
        parent=parent,
        size_bytes=size_bytes,
        compressed_bytes=compressed_bytes,
        created_ns=created_ns,
    )


# Facts about contents


def put_compressed(connection: Connection, diff_id: str, descriptor: Descriptor) -> None:
    """The content is a compressed form of the archive with this diff id."""
    connection.execute(
        "INSERT OR REPLACE INTO compressed VALUES (?, ?, ?, ?)",
        (diff_id, descriptor.digest, descriptor.media_type, descriptor.size),
    )


def list_compressed(connection: Connection, diff_id: str) -> tuple[Descriptor, ...]:
    """Known forms of the archive, smallest first."""
    rows = connection.execute(
        "SELECT digest, media_type, size_bytes FROM compressed WHERE diff_id = ? ORDER BY size_bytes, digest",
        (diff_id,),
    )
    return tuple(
        Descriptor(media_type=media_type, digest=digest, size=size) for digest, media_type, size in rows
    )


def find_diff_id(connection: Connection, digest: str) -> str:
    """Of which archive the content is a form; "" if that is not known."""
    row = connection.execute("SELECT diff_id FROM compressed WHERE digest = ?", (digest,)).fetchone()
    return row[0] if row else ""


def put_source(connection: Connection, digest: str, repository: str) -> None:
    """The repository has the content."""
    connection.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (digest, repository))


def list_sources(connection: Connection, digest: str) -> tuple[str, ...]:
    """Repositories that have, or had, the content."""
    rows = connection.execute(
        "SELECT repository FROM sources WHERE digest = ? ORDER BY repository", (digest,)
    )
    return tuple(row[0] for row in rows)


def delete_source(connection: Connection, digest: str, repository: str) -> None:
    """The repository has turned out not to have the content."""
    connection.execute("DELETE FROM sources WHERE digest = ? AND repository = ?", (digest, repository))


def forget_facts(connection: Connection, *, contents: set[str], diff_ids: set[str]) -> None:
    """Only facts about these contents, and about these archives, are kept."""
    forms = connection.execute("SELECT diff_id, digest FROM compressed").fetchall()
    useless = [form for form in forms if form[0] not in diff_ids and form[1] not in contents]
    connection.executemany("DELETE FROM compressed WHERE diff_id = ? AND digest = ?", useless)
    named = contents | {digest for diff_id, digest in forms if diff_id in diff_ids}
    known = connection.execute("SELECT DISTINCT digest FROM sources").fetchall()
    gone = [(digest,) for (digest,) in known if digest not in named]
    connection.executemany("DELETE FROM sources WHERE digest = ?", gone)
