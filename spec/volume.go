package spec

// SandboxMount is where the task's sandbox is mounted in its container (Mesos's Docker containerizer's default). Fetched
// files and persistent volumes are in it; the environment says so as MESOS_SANDBOX.
const SandboxMount = "/mnt/mesos/sandbox"

// SeatVolume is one local persistent volume: a folder on one host that belongs to a seat and outlives its tasks. As long
// as a seat has one that is not freed, the seat runs on that host only.
type SeatVolume struct {
	// ID is new for every volume, so that a freed one and its successor in the same seat are different folders.
	ID            string
	ContainerPath string // the name in the definition: a path in the sandbox, or a pod's volume
	Host          string
	Path          string // below the host's folder of volumes: "<seat>/<name>-<id>"
	SizeMiB       int64  // as asked for; recorded, not enforced
	// Freed: nobody wants the data any more. The record stays until the host has removed the folder.
	Freed bool `json:",omitempty"`
}

// PersistenceID is Marathon's id of the volume: "<app>#<container path>#<uuid>".
func (v SeatVolume) PersistenceID(app AppID) string {
	return app.Safe() + "#" + v.ContainerPath + "#" + v.ID
}
