package admit

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

func TestPullConfigsStayInTheirFolder(t *testing.T) {
	for source, good := range map[string]bool{
		"registry": true, "team/registry.json": true, "/team/registry": true, "a..b": true,
		"../shadow": false, "/../shadow": false, "team/../../shadow": false, "": false, "/": false, ".": false, "//etc/shadow": false, "a b": false, "a%2e": false, "a\nb": false,
	} {
		err := Check(docker(func(a *spec.App) { a.Secrets = map[string]string{"s": source} }), Policy{})
		if good != (err == nil) || err != nil && !strings.Contains(err.Error(), "--pull-configs") {
			t.Errorf("%q: %v", source, err)
		}
	}
}
