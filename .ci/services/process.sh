# Shared by the scripts of this folder: one server process, identified by its id and its start time, so that no other
# process is ever stopped. They set `name`, `state`, `port` and `log`, and define install and start.
# They may set `patience`, seconds until the server must answer, and `group=yes`, to end all child processes
# with the server.

pid_file=$state/$name.pid

# If CERTIFICATES is a folder of certificates.sh, a server of MySQL's protocol accepts only TLS.
encrypted=()
if [[ -n ${CERTIFICATES:-} ]]; then
  encrypted=(--ssl-ca="$CERTIFICATES/ca.pem" --ssl-cert="$CERTIFICATES/server.pem" --ssl-key="$CERTIFICATES/server.key" --require-secure-transport=ON)
fi

source "$(dirname "${BASH_SOURCE[0]}")/../install.sh"

# The start time of a process: detects an id that was reused by another process.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

alive() {
  local pid
  [[ -s $pid_file ]] && pid=$(cat "$pid_file") && kill -0 "$pid" 2>/dev/null && [[ $(started "$pid") == "$(cat "$pid_file.started" 2>/dev/null)" ]]
}

port_is_free() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "$name: port $port is in use; choose another" >&2
    return 1
  fi
}

launch() {
  nohup setsid "$@" >>"$log" 2>&1 </dev/null &
  echo $! >"$pid_file"
  started $! >"$pid_file.started"
}

# until_it ADDRESS COMMAND ...: waits until the command succeeds, and prints the server's address
until_it() {
  local address=$1
  shift
  local deadline=$((SECONDS + ${patience:-120}))
  while alive && ((SECONDS < deadline)); do
    if "$@" 2>/dev/null; then
      echo "$name ready: $address"
      return
    fi
    sleep 0.25
  done
  echo "$name did not start" >&2
  tail -20 "$log" >&2
  return 1
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }
# a server of MySQL's protocol sends the first packet
greets() { (exec 3<>"/dev/tcp/127.0.0.1/$port" && timeout 2 head -c 8 <&3 | grep -aq '[0-9]'); }
# answers URL [OPTION...]
answers() { curl -fs -o /dev/null --max-time 2 "$@"; }

end_with() {
  alive || { rm -f "$pid_file"; return 0; }
  local pid
  pid=$(cat "$pid_file")
  # launch has made it the leader of its own group
  local target=${group:+-}$pid
  kill "-$1" -- "$target"
  for _ in $(seq 240); do
    kill -0 -- "$target" 2>/dev/null || { rm -f "$pid_file"; return 0; }
    sleep 0.1
  done
  kill -KILL -- "$target" 2>/dev/null || true
  rm -f "$pid_file"
}

command_install() { install; }
command_start() { start; }
command_stop() { end_with TERM; }
command_kill() { end_with KILL; }
command_status() { if alive; then echo "running $(cat "$pid_file")"; else echo stopped; return 3; fi; }
command_usage() { echo "usage: $name.sh install|start|stop|kill|status" >&2; return 2; }
