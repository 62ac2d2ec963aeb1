"""The fast way: many small payloads of msgpack or JSON at once, by a kernel that writes columns.

It takes what devices mostly send: maps, or lists of maps, of numbers, truth, texts, times and lists of numbers. At the
first thing that it does not know, or that might be wrong, it gives the message up, and the slow way decides and
words what is wrong. So the kernel never refuses anything, and where it gives rows they are those of the slow way.
"""
