package launch

import (
	"path"
	"strings"

	"github.com/berth-project/berth/spec"
)

// pullConfig puts a docker configuration, which the operators put on every host below PullConfigDir, where the engine looks
// for the registry's credentials: into the task's sandbox, as a definition's own `fetch` would. secret is the name in the
// definition, its source the file's path below the folder (scheduler/admit keeps it there).
func pullConfig(app *spec.App, secret string, o Options) []spec.Fetch {
	if secret == "" || o.PullConfigDir == "" {
		return nil
	}
	file := path.Join(o.PullConfigDir, strings.TrimPrefix(app.Secrets[secret], "/"))
	return []spec.Fetch{{URI: "file://" + file, DestPath: ".docker/config.json"}}
}
