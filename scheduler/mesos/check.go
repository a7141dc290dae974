package mesos

import (
	"math"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/spec"
)

// healthCheck is a check for the task's executor. HTTP and TCP checks are made inside the container's network, at 127.0.0.1.
func healthCheck(c *spec.NativeCheck) *mesos.HealthCheck {
	if c == nil {
		return nil
	}
	delay, grace, interval, timeout := c.Delay.Seconds(), c.GracePeriod.Seconds(), c.Interval.Seconds(), c.Timeout.Seconds()
	failures := uint32(math.MaxInt32) // 0 would kill at the first failure; Marathon's 0 means never
	if c.MaxFailures > 0 {
		failures = uint32(min(c.MaxFailures, math.MaxInt32))
	}
	h := &mesos.HealthCheck{DelaySeconds: &delay, GracePeriodSeconds: &grace, IntervalSeconds: &interval, TimeoutSeconds: &timeout, ConsecutiveFailures: &failures}
	switch c.Protocol {
	case "COMMAND":
		shell := true
		h.Type, h.Command = mesos.HealthCheck_COMMAND, &mesos.CommandInfo{Shell: &shell, Value: &c.Command}
	case "TCP":
		h.Type, h.TCP = mesos.HealthCheck_TCP, &mesos.HealthCheck_TCPCheckInfo{Port: uint32(c.Port)}
	default:
		scheme := "http"
		if c.Protocol == "HTTPS" {
			scheme = "https"
		}
		h.Type, h.HTTP = mesos.HealthCheck_HTTP, &mesos.HealthCheck_HTTPCheckInfo{Port: uint32(c.Port), Scheme: &scheme, Path: &c.Path}
	}
	return h
}
