package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator"
	"github.com/berth-project/berth/registrator/services"
)

// measureConsul measures against a real Consul how soon an instance that answers is healthy in its catalog, and how soon a
// host's many containers are there from nothing, in the form of `go test -bench`.
func measureConsul(t *bench, binary, image string, runs int) {
	consul := rig.StartConsul(t)
	measureHealthy(t, binary, image, consul, runs)
	measureCold(t, consul)
}

// measureHealthy starts real instances one by one. What is measured begins when sshd in the instance says its first word
// to us, and ends when a blocking query, as consul-template has it, answers that the instance passes.
func measureHealthy(t *bench, binary, image string, consul *rig.Consul, runs int) {
	b := rig.New(t, rig.Options{Binary: binary, Consul: consul})
	v := newViaBerth(t, b, image)
	var took []time.Duration
	for n := range runs + 1 {
		name, address := fmt.Sprintf("consul-%d", n), v.free.take()
		app := b.App(name, image, 1, rig.With("cpus", 1), rig.With("labels", map[string]string{"BERTH_IPS": address, "BERTH_SERVICE": name}))
		app["container"].(map[string]any)["portMappings"] = []any{map[string]any{"containerPort": 22, "name": "ssh"}}
		app["healthChecks"] = []any{map[string]any{"protocol": "TCP", "portIndex": 0, "gracePeriodSeconds": 60, "intervalSeconds": 2, "timeoutSeconds": 1}}
		passes := make(chan time.Time, 1)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		go func() { passes <- passing(ctx, consul, name) }()
		b.Create(app)
		ready := banner(t, address)
		seen := <-passes
		stop()
		if seen.IsZero() {
			t.Fatalf("%s did not pass in Consul", name)
		}
		if n > 0 { // the first pays for cold caches and for the network
			took = append(took, max(0, seen.Sub(ready)))
		}
		b.Settle(30 * time.Second)
		b.Want(200, "DELETE", "/v2/apps"+b.AppID(name), nil, nil)
		b.Settle(30 * time.Second)
	}
	slices.Sort(took)
	fmt.Printf("BenchmarkConsul/healthy 1 %.1f p50-ms %.1f p99-ms\n", millis(median(took)), millis(took[(len(took)*99+99)/100-1]))
}

// passing waits until the service has an instance that passes, and says when it was told; the zero time if that took too long.
func passing(ctx context.Context, consul *rig.Consul, name string) time.Time {
	var index uint64
	for ctx.Err() == nil {
		q := &api.QueryOptions{WaitIndex: index, WaitTime: 10 * time.Second}
		entries, meta, err := consul.API.Health().Service(name, "", true, q.WithContext(ctx))
		if err != nil {
			return time.Time{}
		}
		if len(entries) > 0 {
			return time.Now()
		}
		index = meta.LastIndex
	}
	return time.Time{}
}

// coldContainers is how many containers a host has in the second part. They are an inventory without an engine, as it is the
// registrator and Consul that are measured.
const coldContainers = 300

// measureCold registers them all from nothing; then half of them go, and then the others while nobody looks. What Consul has
// of them that is no more counts as ghosts.
func measureCold(t *bench, consul *rig.Consul) {
	var inventory watch.Value[docker.Snapshot]
	log := logrus.New()
	log.SetOutput(io.Discard)
	start := func() func() {
		r, err := registrator.New(registrator.Options{
			Host: "cold", Owner: "bench-cold", Alone: true, Inventory: &inventory, Log: log, Address: consul.Address,
			Others: services.Policy{Others: services.OthersAll}, HostAddress: netip.MustParseAddr("127.0.0.1"),
		})
		if err != nil {
			t.Fatalf("%v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		return func() { stop(); <-done } //nolint:errcheck // it ends as it was told
	}
	set := func(n int) {
		s := docker.Snapshot{Connected: true}
		for i := range n {
			s.Containers = append(s.Containers, docker.Container{
				ID: "cold-" + strconv.Itoa(i), Name: "cold-" + strconv.Itoa(i), Image: "cold", State: "running", Running: true, NetworkMode: "bridge",
				Env:   []string{"SERVICE_NAME=cold", "SERVICE_TAGS=a,b", "SERVICE_CHECK_TTL=1h", "SERVICE_CHECK_INITIAL_STATUS=passing"},
				Ports: []docker.Port{{Port: 80, Protocol: "tcp", HostPort: 20000 + i}},
			})
		}
		inventory.Set(s)
	}
	reach := func(n int) time.Duration {
		began := time.Now()
		pause := time.NewTicker(50 * time.Millisecond) // the answers are large, and whoever makes them is what is measured
		defer pause.Stop()
		for ; time.Since(began) < time.Minute; <-pause.C {
			list, _, err := consul.API.Health().Service("cold", "", true, nil)
			if err != nil {
				t.Fatalf("ask for the services: %v", err)
			}
			if len(list) == n {
				return time.Since(began)
			}
		}
		t.Fatalf("%d services: not within a minute", n)
		return 0
	}
	plain := bare(t, consul)
	stop := start()
	set(coldContainers)
	cold := reach(coldContainers)
	set(coldContainers / 2)
	gone := reach(coldContainers / 2)
	stop()
	set(0)
	stop = start()
	reach(0)
	stop()
	list, err := consul.API.Agent().ServicesWithFilter(`Service == "cold"`)
	if err != nil {
		t.Fatalf("ask for ghosts: %v", err)
	}
	fmt.Printf("BenchmarkConsul/cold/%d 1 %.0f ms %.0f bare-ms %.2f of-bare %.0f half-gone-ms %d ghosts\n",
		coldContainers, millis(cold), millis(plain), cold.Seconds()/plain.Seconds(), millis(gone), len(list))
}

// bare is how long the same Consul takes for as many services of somebody who only registers, one after the other.
func bare(t *bench, consul *rig.Consul) time.Duration {
	began := time.Now()
	for i := range coldContainers {
		s := &api.AgentServiceRegistration{
			ID: "bare-" + strconv.Itoa(i), Name: "bare", Port: 20000 + i, Check: &api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing},
		}
		if err := consul.API.Agent().ServiceRegister(s); err != nil {
			t.Fatalf("register %s: %v", s.ID, err)
		}
	}
	took := time.Since(began)
	for i := range coldContainers {
		if err := consul.API.Agent().ServiceDeregister("bare-" + strconv.Itoa(i)); err != nil {
			t.Fatalf("remove bare-%d: %v", i, err)
		}
	}
	rig.Eventually(t, time.Minute, "they are out of the catalog", func() error {
		list, _, err := consul.API.Catalog().Service("bare", "", nil)
		if err == nil && len(list) > 0 {
			err = fmt.Errorf("%d are left", len(list))
		}
		return err
	})
	return took
}
