"""`handdiff predict`: images, videos and folders of them in; files with the answers out.

`command` has the arguments, `settings` what they come to, `run` takes the files one by one; `images` and `videos` do
them, `files` and `manifest` know names and what is done.
"""
