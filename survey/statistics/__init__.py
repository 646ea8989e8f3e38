"""How well people and models did on the same images, and how far they agree. Pure functions.

Everything starts from one table of answers, participants by images (``table``). Every figure that
a paper would quote comes as a ``Figure``: value, 95 % interval, the number of cases, or the reason
why it is undefined.
"""
