# Called at the instant that all agreed on. The recorder stays behind when this script ends.
(
    while sleep 0.1; do
        cut -d " " -f 1 /proc/loadavg >>"$GS_ARTIFACTS/load.txt"
    done
) &
echo $! >"$GS_ARTIFACTS/.recorder"
