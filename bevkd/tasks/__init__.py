"""What a student is when it is no detector in bird's-eye view: model, data, metric and embedded samples of a task.

A config whose ``default_scope`` is ``"bevkd"`` finds all of it, without any import of mmdet3d.
"""
