"""Images: a store of contents by their digests, transfer, layers, snapshots, archives.

``content`` keeps bytes, ``library`` remembers what they are for, ``snapshots`` makes directories of layers,
``remote`` speaks with registries, ``service`` puts it all together.  Knows nothing of containers.
"""
