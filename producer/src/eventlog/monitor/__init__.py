"""The monitor: shows the counts of every hop and passes controls on to the producer.

A unit of its own, so that it stays up whatever else goes down. ``refresher`` keeps the figures, ``app`` serves them.
"""
