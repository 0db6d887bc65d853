#!/bin/sh
# Puts a table between the marks of its name in a document.
#
# usage: scripts/dtmf/insert.sh NAME TABLE DOCUMENT
set -eu
awk -v name="$1" -v table="$2" '
    $0 == "<!-- " name ": end -->" { inside = 0 }
    !inside { print }
    $0 == "<!-- " name ": begin -->" {
        inside = 1
        while ((getline line <table) > 0) print line
    }
' "$3" >"$3.part"
mv "$3.part" "$3"
