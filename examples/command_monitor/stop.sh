# Findings on the output, as name=value or as JSON; what lies in $GS_ARTIFACTS is handed in.
. ./abort.sh
samples=$(wc -l <"$GS_ARTIFACTS/load.txt")
highest=$(sort -n "$GS_ARTIFACTS/load.txt" | tail -n 1)
echo "samples=$samples"
echo "{\"name\": \"highest_load\", \"value\": $highest, \"high\": 1000}"
