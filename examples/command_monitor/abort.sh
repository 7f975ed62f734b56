# It will not be, or ended badly ($GS_CAUSE says why): end the recorder, if there is one.
if [ -e "$GS_ARTIFACTS/.recorder" ]; then
    kill "$(cat "$GS_ARTIFACTS/.recorder")"
    rm "$GS_ARTIFACTS/.recorder"
fi
