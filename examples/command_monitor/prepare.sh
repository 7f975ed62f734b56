# Exit 0: ready. 75: hold, with "SECONDS REASON" on the first line. 76: veto, with the reason.
if [ ! -r /proc/loadavg ]; then
    echo "this host does not tell its load"
    exit 76
fi
