package admit

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// pullSource is what the source of a pullConfig's secret may be made of: it ends up in a URI and in paths on the hosts.
var pullSource = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// checkPullConfigs: the source of each secret is the path of a file below the operators' folder, out of which it must not lead.
func checkPullConfigs(app *spec.App, f *marathon.Faults) {
	for _, name := range sortedKeys(app.Secrets) {
		file := strings.TrimPrefix(app.Secrets[name], "/")
		if !pullSource.MatchString(file) || !filepath.IsLocal(file) || filepath.Clean(file) == "." {
			f.Add("/secrets/"+name+"/source", "must name a docker configuration below the operators' folder (--pull-configs): letters, digits, and . _ - / without \"..\"")
		}
	}
}
