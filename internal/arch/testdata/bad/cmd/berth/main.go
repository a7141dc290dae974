// Command berth composes the components.
package main

import (
	_ "github.com/berth-project/berth/agent/probe"
	_ "github.com/berth-project/berth/integration" // want `nothing imports integration`
	_ "github.com/berth-project/berth/scheduler/api"
)

func main() {}
