package main

import (
	"strings"
	"testing"
)

func TestDropInArgs(t *testing.T) {
	for in, want := range map[string]string{
		"agent --registrar-only -ip 10.0.0.1 -internal -retry-attempts -1 -tags=a,b consul://": "agent --registrar-only --ip 10.0.0.1 --internal --retry-attempts -1 --tags=a,b consul://",
		"agent -registrar-only=true -ip 1.2.3.4":                                               "agent -registrar-only=true -ip 1.2.3.4",
		"agent --registrar-only --ip 10.0.0.1 -o json -- -ip":                                  "agent --registrar-only --ip 10.0.0.1 -o json -- -ip",
		"agent -ip 10.0.0.1": "agent -ip 10.0.0.1",
		"ps -internal":       "ps -internal",
		"":                   "",
	} {
		if got := strings.Join(dropInArgs(strings.Fields(in)), " "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestRegistryAddress(t *testing.T) {
	for uri, want := range map[string]string{
		"consul://10.0.0.1:8500": "10.0.0.1:8500", "consul://10.0.0.1:8500/": "10.0.0.1:8500", "consul:": "", "consul://": "",
		"consul-tls://consul.example.com:8501": "https://consul.example.com:8501", "consul-unix:///run/consul.sock": "unix:///run/consul.sock",
		"consul-unix://run": "error", "consul-tls://": "error", "etcd://10.0.0.1:2379": "error", "10.0.0.1:8500": "error", "": "error", "consulkv://10.0.0.1": "error",
	} {
		got, err := registryAddress(uri)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
}
