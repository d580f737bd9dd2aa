"""Tar archives as images have them: read in any dialect, written in one.

    header   one block of 512 bytes: numbers, checksum, names        entry    what an archive says of one file
    pax      records of extended headers, and what they override     sparse   where a file has data, and holes
    reader   a stream of bytes to entries and their data             writer   the way back: ustar, or PAX

Nothing here touches the file system: ``pierhead.images.unpack`` and ``diff`` do.
"""
