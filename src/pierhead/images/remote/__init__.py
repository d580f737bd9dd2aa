"""Registries: where they are, who we are to them, what they are asked, and images to and from them.

    transfer    pull and push, whole images
    download    one content into the store      upload      one content to a repository
    client      the distribution protocol's requests, mirrors
    connection  one request: retries, redirects, authorization
    auth        tokens                           hosts, credentials, challenge     files and headers

Knows the content store below, and nothing of what becomes of an image.
Source: distribution-spec 1.1; Docker's registry API and token documents.
"""
