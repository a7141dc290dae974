package marathon

import (
	"encoding/json"

	"github.com/berth-project/berth/spec"
)

// Persistent is a local persistent volume as a definition asks for it.
type Persistent struct {
	Name        string // an app's containerPath, a pod volume's name
	Type        string // root, path or mount
	SizeMiB     int64
	MaxSizeMiB  *int64
	ProfileName string
	Constraints [][]string // on the disk's path
}

// PersistentVolumes are those of an app or pod, in the definition's order.
func PersistentVolumes(app *spec.App) []Persistent {
	var out []Persistent
	add := func(name string, raw json.RawMessage) {
		var p persistentJSON
		if raw == nil || json.Unmarshal(raw, &p) != nil {
			return // what is stored was written by readPersistent
		}
		out = append(out, Persistent{
			Name: name, Type: p.Type, SizeMiB: p.Size, MaxSizeMiB: p.MaxSize, ProfileName: p.ProfileName, Constraints: p.Constraints,
		})
	}
	if app.Pod != nil {
		for _, v := range app.Pod.Volumes {
			add(v.Name, v.Persistent)
		}
	}
	if app.Container != nil {
		for _, v := range app.Container.Volumes {
			add(v.ContainerPath, v.Persistent)
		}
	}
	return out
}
