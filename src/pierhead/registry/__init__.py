"""A registry: the OCI distribution protocol's server over the same store of contents that images use.

    serve      the process: settings, listeners, its end      settings   all there is to say to it
    server     which request goes where                       routes_*   what is done there
    call       one request                                    replies    answers
    gate       who asks, and whether they may                 access, passwords, shacrypt, tokens
    storage    blobs and manifests                            index, uploads, collect
    cache      repositories that are an upstream's            download
    watching   figures and states                             metrics, accesslog
    names, ranges, documents, faults                          the protocol's words, pure

``serve.run`` runs one; ``collect.collect`` removes garbage; ``passwords.set_password`` makes users.
Knows nothing of containers, nor of images' platforms and layers: to it they are contents.
"""
