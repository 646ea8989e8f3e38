"""Statistics as figures: one look, Korean and English, and the numbers of each as a table.

A chart's title says what was found, in words computed from the numbers; its caption says what is
shown, of how many, with which interval, so that both can be pasted into a paper.
"""
