package main

import (
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/spec"
)

// police gives a script's world network policies and what its host tells of them.
func police(w *apitest.World) {
	w.Police(&spec.NetworkPolicies{Policies: []spec.NetworkPolicy{
		{Name: "shop/db", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: []spec.PolicyRule{
			{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 6}, Source: spec.PolicyPeer{Selector: "role == 'web'"}, Destination: spec.PolicyPeer{Ports: []spec.PolicyPorts{{From: 5432, To: 5432}}}},
			{Action: spec.PolicyDeny},
		}},
		{Name: "lockdown", Ingress: true, Egress: true},
	}}, &spec.PolicyReport{Fault: "nftables: no", Counts: []spec.PolicyCount{
		{Policy: "shop/db", Direction: "ingress", Rule: 0, Action: spec.PolicyAllow, Packets: 7, Bytes: 420}, {Policy: "shop/db", Direction: "ingress", Rule: 1, Action: spec.PolicyDeny, Packets: 3, Bytes: 180},
		{Policy: "shop/db,lockdown", Direction: "ingress", Rule: spec.DefaultRule, Action: spec.PolicyDeny, Packets: 4, Bytes: 240},
	}})
}
