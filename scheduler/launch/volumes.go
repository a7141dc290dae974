package launch

import (
	"fmt"
	"path"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// SpecialDisks says for people which disks, beside the host's own, the app's persistent volumes need.
func SpecialDisks(app *spec.App) []string {
	var out []string
	for _, p := range marathon.PersistentVolumes(app) {
		if p.Type == "root" {
			continue
		}
		text := fmt.Sprintf("volume %s needs a disk of type %s of %d MiB", p.Name, p.Type, p.SizeMiB)
		if p.MaxSizeMiB != nil {
			text += fmt.Sprintf(" to %d MiB", *p.MaxSizeMiB)
		}
		if p.ProfileName != "" {
			text += " with profile " + p.ProfileName
		}
		for _, c := range p.Constraints {
			text += " with " + strings.Join(c, " ")
		}
		out = append(out, text)
	}
	return out
}

// SeatVolumes are the persistent volumes of a seat that runs the app on the host: those that it has, in the definition's
// order, and new ones for what is missing, with ids from newID.
func SeatVolumes(app *spec.App, seat spec.Seat, host string, newID func() string) []spec.SeatVolume {
	var out []spec.SeatVolume
	for _, p := range marathon.PersistentVolumes(app) {
		v, ok := volumeAt(seat.Volumes, p.Name)
		if !ok {
			id := newID()
			v = spec.SeatVolume{ID: id, ContainerPath: p.Name, Host: host, Path: path.Join(seat.ID.Safe(), folderName(p.Name)+"-"+id), SizeMiB: p.SizeMiB}
		}
		out = append(out, v)
	}
	return out
}

func volumeAt(volumes []spec.SeatVolume, name string) (spec.SeatVolume, bool) {
	for _, v := range volumes {
		if v.ContainerPath == name && !v.Freed {
			return v, true
		}
	}
	return spec.SeatVolume{}, false
}

// folderName is the part of a volume's folder by which people find it; the id after it makes it unique.
func folderName(name string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	return plain[:min(len(plain), 64)]
}

// mounts are the volumes of an app's container. A persistent volume lies in the sandbox, under its own name. A host path
// that is not absolute names one of them (Marathon's way to mount a persistent volume elsewhere), or something in the
// sandbox, such as a fetched file.
func mounts(app *spec.App, have []spec.SeatVolume, o Options) []spec.LaunchVolume {
	if app.Container == nil {
		return nil
	}
	var out []spec.LaunchVolume
	for _, v := range app.Container.Volumes {
		m := spec.LaunchVolume{HostPath: v.HostPath, ContainerPath: v.ContainerPath, ReadOnly: v.Mode == "RO"}
		name := v.HostPath
		if v.Persistent != nil {
			name, m.ContainerPath = v.ContainerPath, path.Join(spec.SandboxMount, v.ContainerPath)
		}
		if own, ok := volumeAt(have, name); ok {
			m.HostPath = path.Join(o.VolumesDir, own.Path)
		}
		if m.HostPath != "" {
			out = append(out, m)
		}
	}
	return out
}
