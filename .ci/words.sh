#!/usr/bin/env bash
# The words of .ci/words.txt do not come into new text: lines that this change adds to pages, comments, messages and help.
# usage: words.sh [--all]   --all: every line, not only new ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

if [[ ${1:-} == --all ]]; then
  base=$(git hash-object -t tree /dev/null)
else
  base=${BASE:?the commit to compare with}
fi
texts=('*.rs' '*.md' '*.toml' '*.sh' '*.yml' '*.yaml' '*.py' '*.html' ':!CHANGELOG.md' ':!.ci/words.txt' ':!benches/*.md')
found=$(git diff --no-ext-diff -U0 "$base" -- "${texts[@]}" | WORDS=.ci/words.txt perl -ne '
  BEGIN {
    open my $list, "<", $ENV{WORDS} or die;
    while (<$list>) { next if /^#|^\s*$/; chomp; my ($word, $plain) = split /\t+/; push @words, [qr/$word/i, $plain // ""]; }
  }
  if (m{^\+\+\+ b/(.*)}) { $file = $1; next }
  if (/^@@ -\S+ \+(\d+)/) { $line = $1 - 1; next }
  next unless s/^\+//;
  $line++;
  my $text = $_;
  if ($file =~ /\.rs$/) {
    # comments and strings
    my @parts = $text =~ m{"((?:[^"\\]|\\.)*)"}g;
    (my $code = $text) =~ s/"(?:[^"\\]|\\.)*"/""/g;
    push @parts, $1 if $code =~ m{//[/!]?(.*)};
    $text = join " ", @parts;
  } elsif ($file =~ /\.(toml|sh|ya?ml|py)$/) {
    $text = $text =~ /#(.*)/ ? $1 : "";
  }
  for my $word (@words) {
    if ($text =~ $word->[0]) { print "$file:$line: `$&`: $word->[1]\n" }
  }
')
if [[ -n $found ]]; then
  echo "$found"
  fail "$(wc -l <<<"$found") places with words of .ci/words.txt; write them as it says"
fi
tested "the words of .ci/words.txt are in no new text"
