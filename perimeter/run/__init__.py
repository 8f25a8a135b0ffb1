"""The running gateway: `daemon` has the file, the signals and systemd, `worker` serves clients.

`perimeter.run.build` builds what is served; here it is bound to listeners, replaced as a whole at a reload, and stopped in order.
"""
