"""Images as files, of every form that there is, and back.

    load        a file, pipe or directory of any form to images in the store
    save        images in the store to one file that is both an OCI layout and what ``docker load`` reads
    rootfs      an archive of a root file system to an image of one layer
    frozen      an image in the store to a directory of the old form, as Docker's script makes it

    files       what an archive or a directory brings, read once in whatever order it comes
    ocilayout   index.json                      } what the forms mean
    dockersave  manifest.json                   }
    v1layout    repositories, ID/json, …        }
    compose     configurations and manifests for forms that lack them

An archive may say anything.  Nothing of it is ever written to a path of its choosing: contents go into the
store under the digests that they turn out to have.
"""
