#!/bin/bash
# A web server whose processes share memory answers some requests and ends in order: run alone or recorded
# by equality.py.
#   web.sh nginx      two workers, a zone that counts requests, its status page
#   web.sh apache     prefork: the scoreboard, graceful restart and stop
# In an empty directory, on a free port of the loopback.
set -euo pipefail
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
mkdir site run
for i in 1 2 3; do head -c $((i * 10000)) /dev/zero | tr '\0' "$i" > site/$i.txt; done

await() {  # until the server answers
  for _ in $(seq 300); do
    curl -s -o run/first "$url/1.txt" && return
    sleep 0.1
  done
  echo "no answer"
  exit 1
}

requests() {
  for i in 1 2 3 1 2 3 1 2 3 4; do
    curl -s -o run/got -w '%{http_code} %{size_download}\n' "$url/$i.txt"
  done
}

nginx_server() {
  cat > run/nginx.conf <<CONF
worker_processes 2; daemon off; pid $PWD/run/pid; error_log $PWD/run/error.log; user $(id -un);
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path $PWD/run; proxy_temp_path $PWD/run; fastcgi_temp_path $PWD/run;
  uwsgi_temp_path $PWD/run; scgi_temp_path $PWD/run;
  limit_req_zone \$binary_remote_addr zone=count:64k rate=1000r/s;
  server {
    listen 127.0.0.1:$port; root $PWD/site; limit_req zone=count burst=100 nodelay;
    location = /status { stub_status; }
  }
}
CONF
  nginx -p "$PWD" -c "$PWD/run/nginx.conf" 2>run/stderr &
  await
  requests
  curl -s "$url/status" | sed -n 3p | awk '{ print "accepted as handled:", $1 == $2 }'
  kill -HUP $!  # new workers, the same zone
  sleep 0.5
  requests
  kill -QUIT $!
}

apache_server() {
  local modules=/usr/lib/apache2/modules
  cat > run/apache.conf <<CONF
ServerRoot $PWD
ServerName localhost
PidFile run/pid
ErrorLog run/error.log
DefaultRuntimeDir run
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule status_module $modules/mod_status.so
User $(id -un | sed s/root/www-data/)
Group $(id -gn | sed s/root/www-data/)
ScoreBoardFile run/scoreboard
StartServers 3
MinSpareServers 2
ExtendedStatus On
Listen 127.0.0.1:$port
DocumentRoot $PWD/site
<Location /status>
  SetHandler server-status
</Location>
CONF
  chmod -R a+rX . && chmod a+rx "$PWD"
  # In a session of its own: at its end it signals its whole process group.
  setsid apache2 -f "$PWD/run/apache.conf" -DFOREGROUND 2>run/stderr &
  await
  requests
  curl -s "$url/status?auto" | awk '/^BusyWorkers/ { print }'
  kill -USR1 $!  # graceful restart
  sleep 0.5
  requests
  kill -TERM $!
}

"$1_server"
wait $! && echo "ended: 0" || echo "ended: $?"
rm -r run
