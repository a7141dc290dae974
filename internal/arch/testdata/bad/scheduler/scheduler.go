// Package scheduler is a component.
package scheduler

import (
	_ "github.com/berth-project/berth/agent/probe" // want `scheduler and agent never import each other`
	_ "github.com/berth-project/berth/cmd/berth"   // want `nothing imports cmd`
	_ "github.com/berth-project/berth/scheduler/plan"
	_ "go.etcd.io/bbolt" // want `the store's file only in scheduler/store`
)

func init() {} // want `no init functions`
