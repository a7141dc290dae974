// Package integration may use clients of its own.
package integration

import _ "github.com/hashicorp/consul/api"
