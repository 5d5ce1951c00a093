"""The report: `reports/index.html`, the whole pipeline on one page, with everything in it and no request to a network.

It is a view and no output of a stage: it holds the change since a commit, which no dependency of a stage tells, and
passages of documents, which do not belong into git. `aura report` makes it again from what the stages left. A part
whose stage has not run says so, with the command that runs it.

Each module gathers one section as plain values, and `page` writes them into the templates beside it. What is read is
bounded: heads of manifests, metrics, plots and the first rows of some shards, whatever the size of the corpus.
"""
