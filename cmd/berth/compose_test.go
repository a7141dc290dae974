package main

import (
	"net"
	"testing"

	"github.com/berth-project/berth/scheduler/api"
)

func TestLeaderIsReachable(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	for listen, want := range map[string]string{
		"": "unix:/run/b/api.sock", "127.0.0.1:0": "127.0.0.1:" + port, ":0": "box:" + port, "0.0.0.0:" + port: "box:" + port,
		"[::]:" + port: "box:" + port, "api.example.com:" + port: "api.example.com:" + port,
	} {
		c := composition{settings: settings{standaloneOptions: standaloneOptions{schedulerOptions: schedulerOptions{Listen: listen}, daemonOptions: daemonOptions{RunDir: "/run/b", Hostname: "box"}}}}
		if got := c.leader([]api.Listener{{Listener: tcp}}); got != want {
			t.Errorf("%q: %s, want %s", listen, got, want)
		}
	}
}
