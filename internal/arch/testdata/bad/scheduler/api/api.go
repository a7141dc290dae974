// Package api is below a root.
package api

import (
	. "fmt" // want `no dot imports`

	_ "github.com/berth-project/berth/scheduler" // want `a subpackage never imports its component's root`
	_ "github.com/berth-project/berth/scheduler/plan"
	_ "github.com/hashicorp/consul/api" // want `Consul only in registrator and scheduler/store`
)

func f() { Println() }
