"""Documents of the Open Container Initiative as typed values: pure, no I/O, no kernel.

``runtime`` holds the values, ``document`` turns JSON objects into values and back, ``validate`` checks what
types cannot say, ``default`` is the document that ``spec`` prints.
"""
