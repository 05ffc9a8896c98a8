#!/usr/bin/env bash
# The words of .ci/words.txt are in no page, comment, message or help text. Of Rust, comments and strings of one line are
# searched; of all other files, every line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

texts=('*.rs' '*.md' '*.toml' '*.sh' '*.yml' '*.yaml' '*.py' '*.html' '*.json' '*.java' '*.c' Dockerfile '.ci/*' ':!CHANGELOG.md' ':!.ci/words.txt')
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- "${texts[@]}")
found=$(perl -ne '
  BEGIN {
    open my $list, "<", ".ci/words.txt" or die;
    while (<$list>) {
      next if /^#|^\s*$/;
      chomp;
      my ($word, $plain) = split /\t+/;
      push @words, [qr/$word/i, $plain];
    }
  }
  my $text = $_;
  if ($ARGV =~ /\.rs$/) {
    # strings and comments
    my @parts = $text =~ m{"((?:[^"\\]|\\.)*)"}g;
    (my $code = $text) =~ s/"(?:[^"\\]|\\.)*"/""/g;
    push @parts, $1 if $code =~ m{//[/!]?(.*)};
    $text = join " ", @parts;
  }
  for my $word (@words) {
    print "$ARGV:$.: `$&`: $word->[1]\n" if $text =~ $word->[0];
  }
  close ARGV if eof;
' "${files[@]}")
if [[ -n $found ]]; then
  echo "$found"
  fail "$(wc -l <<<"$found") places have words of .ci/words.txt; write them as it says"
fi
tested "${#files[@]} files have none of the words of .ci/words.txt"
