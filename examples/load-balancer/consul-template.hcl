# consul-template -config /etc/consul-template/berth.hcl
consul {
  address = "127.0.0.1:8500"
}

# A rolling update changes the answer often: several changes within 50 ms are one reload, and none waits longer than 250 ms. Berth leaves
# half a second between "out of the catalog" and the next step of a stop, and BERTH_DRAIN_SECONDS beyond that.
wait {
  min = "50ms"
  max = "250ms"
}

template {
  source      = "/etc/consul-template/berth.conf.ctmpl"
  destination = "/etc/nginx/conf.d/berth.conf"
  command     = "nginx -t -q && nginx -s reload"
}
