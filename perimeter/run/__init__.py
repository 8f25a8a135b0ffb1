"""The daemon: one gateway, started, reloaded and stopped.

What is served is built in `perimeter.run.build`; here it is bound to listeners, exchanged whole at a reload, and brought to an
end in order.
"""
