#!/usr/bin/env bash
# What the tests need beside Python: a browser, PostgreSQL, and a font with Korean letters.
# Installed where that is possible; otherwise the line to type. With CI=true a missing browser or
# PostgreSQL is a failure: there their tests must not be skipped.
set -euo pipefail

has_browser() {
    command -v chromium-headless-shell || command -v chromium || command -v google-chrome
} >/dev/null

has_postgresql() {
    compgen -G "/usr/lib/postgresql/*/bin/initdb" || command -v initdb
} >/dev/null

has_korean_font() {
    [[ -n "$(fc-list :lang=ko 2>/dev/null)" ]] || dpkg --status fonts-noto-cjk &>/dev/null
}

# The tests take less time without what a window needs; not every system packs that alone.
name_browser() {
    if apt-cache show chromium-headless-shell &>/dev/null; then
        echo chromium-headless-shell
    else
        echo chromium
    fi
}

list_missing() {
    has_browser || name_browser
    has_postgresql || echo postgresql
    has_korean_font || echo fonts-noto-cjk
}

mapfile -t missing < <(list_missing)
if ((${#missing[@]} == 0)); then
    exit 0
fi

if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    apt-get update || echo "apt-get could not update its lists" >&2
    mapfile -t missing < <(list_missing)
    apt-get install --yes --no-install-recommends "${missing[@]}" ||
        echo "apt-get could not install: ${missing[*]}" >&2
    mapfile -t missing < <(list_missing)
fi

if ((${#missing[@]} > 0)); then
    echo "The tests also need: ${missing[*]}. Type: sudo apt-get install ${missing[*]}" >&2
fi
if [[ ${CI:-} == true ]] && ! { has_browser && has_postgresql; }; then
    exit 1
fi
