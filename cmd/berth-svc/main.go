// Command berth-svc runs the services of a container under s6, and is systemctl, service, journalctl and their like under these names.
package main

import (
	"os"

	"github.com/berth-project/berth/svc"
)

func main() {
	os.Exit(svc.Main(os.Args, os.Stdout, os.Stderr))
}
