package api

import _ "github.com/berth-project/berth/monitor" // want `scheduler and monitor never import each other`
import _ "github.com/hashicorp/consul/api"

func change() {
	names["x"] = 1 // want `names is written here`
}
