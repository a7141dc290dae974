package main

import (
	"maps"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/spec"
)

// withLXCFS are this machine's attributes with the one that says that lxcfs runs on it, if it does and nobody said so or otherwise.
func withLXCFS(attributes map[string]string) map[string]string {
	var st unix.Statfs_t
	_, said := attributes[spec.AttributeLXCFS]
	if said || unix.Statfs(spec.LXCFSFolder, &st) != nil || st.Type != unix.FUSE_SUPER_MAGIC {
		return attributes
	}
	out := map[string]string{spec.AttributeLXCFS: spec.LXCFSFolder}
	maps.Copy(out, attributes)
	return out
}
