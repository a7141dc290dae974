package marathon

import (
	"errors"
	"strings"
	"testing"
)

func asFaults(t *testing.T, err error) *Faults {
	t.Helper()
	var f *Faults
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want *Faults", err)
	}
	return f
}

// at finds the texts of a path.
func (f *Faults) at(path string) string {
	for _, d := range f.Details {
		if d.Path == path {
			return strings.Join(d.Errors, "; ")
		}
	}
	return ""
}

func TestSyntaxFaults(t *testing.T) {
	for name, c := range map[string]struct{ body, message, text string }{
		"empty":       {"", "Please specify data in JSON format", "empty"},
		"blank":       {" \n", "Please specify data in JSON format", "empty"},
		"cut off":     {`{"id":"a"`, "Invalid JSON", "unexpected end"},
		"two values":  {`{} {}`, "Invalid JSON", "line 1, column 4"},
		"second line": {"{\n  \"id\": x}", "Invalid JSON", "line 2, column 9"},
		"deep":        {strings.Repeat("[", 100) + strings.Repeat("]", 100), "Invalid JSON", "nested deeper than 64"},
		"long list":   {`{"args":[` + strings.Repeat(`"x",`, maxEntries) + `"x"]}`, "Invalid JSON", "more than 10000 elements"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeApp([]byte(c.body), testOptions())
			f := asFaults(t, err)
			if f.Message != c.message || !strings.Contains(f.Syntax, c.text) || f.Details != nil {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestTypeFaults(t *testing.T) {
	for name, c := range map[string]struct{ body, path, text string }{
		"no object":           {`[]`, "/", "error.expected.jsobject"},
		"no id":               {`{"cmd":"run"}`, "/id", "error.path.missing"},
		"null id":             {`{"id":null,"cmd":"run"}`, "/id", "error.path.missing"},
		"id in upper case":    {`{"id":"/Web","cmd":"run"}`, "/id", "error.pattern"},
		"id with dash":        {`{"id":"/-web","cmd":"run"}`, "/id", "error.pattern"},
		"text for number":     {`{"id":"a","instances":"2"}`, "/instances", "error.expected.jsnumber"},
		"fraction":            {`{"id":"a","instances":0.5}`, "/instances", "error.expected.int"},
		"beyond 32 bits":      {`{"id":"a","instances":3000000000}`, "/instances", "error.expected.int"},
		"beyond floats":       {`{"id":"a","cpus":1e999}`, "/cpus", "error.expected.jsnumber"},
		"number for text":     {`{"id":"a","cmd":1}`, "/cmd", "error.expected.jsstring"},
		"empty cmd":           {`{"id":"a","cmd":""}`, "/cmd", "error.minLength"},
		"object for list":     {`{"id":"a","args":{}}`, "/args", "error.expected.jsarray"},
		"null in list":        {`{"id":"a","args":["x",null]}`, "/args(1)", "error.expected.jsstring"},
		"label number":        {`{"id":"a","labels":{"n":1}}`, "/labels/n", "error.expected.jsstring"},
		"env list":            {`{"id":"a","env":{"n":[]}}`, "/env/n", "error.expected.jsstring"},
		"env secret":          {`{"id":"a","env":{"n":{}}}`, "/env/n/secret", "error.path.missing"},
		"text for bool":       {`{"id":"a","requirePorts":"yes"}`, "/requirePorts", "error.expected.jsboolean"},
		"enum":                {`{"id":"a","killSelection":"ANY"}`, "/killSelection", "error.unknown.enum.literal"},
		"upgrade above":       {`{"id":"a","upgradeStrategy":{"minimumHealthCapacity":1.5,"maximumOverCapacity":1}}`, "/upgradeStrategy/minimumHealthCapacity", "error.max"},
		"upgrade half":        {`{"id":"a","upgradeStrategy":{"minimumHealthCapacity":1}}`, "/upgradeStrategy/maximumOverCapacity", "error.path.missing"},
		"backoff factor":      {`{"id":"a","backoffFactor":0.9}`, "/backoffFactor", "error.min"},
		"port":                {`{"id":"a","portDefinitions":[{"port":70000}]}`, "/portDefinitions(0)/port", "error.max"},
		"port name":           {`{"id":"a","portDefinitions":[{"name":"Http"}]}`, "/portDefinitions(0)/name", "error.pattern"},
		"volume without kind": {`{"id":"a","container":{"volumes":[{"containerPath":"/x","mode":"RO"}]}}`, "/container/volumes(0)/hostPath", "error.path.missing"},
		"volume mode":         {`{"id":"a","container":{"volumes":[{"containerPath":"/x","hostPath":"/y"}]}}`, "/container/volumes(0)/mode", "error.path.missing"},
		"image":               {`{"id":"a","container":{"docker":{}}}`, "/container/docker/image", "error.path.missing"},
		"container type":      {`{"id":"a","container":{"type":"LXC"}}`, "/container/type", "error.unknown.enum.literal"},
		"parameter":           {`{"id":"a","container":{"docker":{"image":"i","parameters":[{"value":"v"}]}}}`, "/container/docker/parameters(0)/key", "error.path.missing"},
		"fetch uri":           {`{"id":"a","fetch":[{},{"uri":""}]}`, "/fetch(1)/uri", "error.minLength"},
		"network name":        {`{"id":"a","networks":[{"name":"Blue"}]}`, "/networks(0)/name", "error.pattern"},
		"constraint":          {`{"id":"a","constraints":[["hostname"]]}`, "/constraints(0)", "error.minLength"},
		"long constraint":     {`{"id":"a","constraints":[["a","b","c","d"]]}`, "/constraints(0)", "error.maxLength"},
		"command check":       {`{"id":"a","healthChecks":[{"protocol":"COMMAND"}]}`, "/healthChecks(0)/command", "error.path.missing"},
		"executor":            {`{"id":"a","executor":"a//b"}`, "/executor", "error.pattern"},
		"limit":               {`{"id":"a","resourceLimits":{"cpus":"some"}}`, "/resourceLimits/cpus", "error.unknown.enum.literal"},
		"unreachable":         {`{"id":"a","unreachableStrategy":7}`, "/unreachableStrategy", "error.expected.jsobject"},
		"dependency":          {`{"id":"a","dependencies":["B"]}`, "/dependencies(0)", "error.pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeApp([]byte(c.body), testOptions())
			f := asFaults(t, err)
			if f.Message != "Invalid JSON" || f.Syntax != "" || f.at(c.path) != c.text {
				t.Errorf("got %v, want %s at %s", f, c.text, c.path)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := DecodeApp([]byte(`{"instances":"2","cpus":"1","env":{"B":1,"A":2},"container":{"docker":{"image":7}}}`), testOptions())
	var paths []string
	for _, d := range asFaults(t, err).Details {
		paths = append(paths, d.Path)
	}
	want := "/container/docker/image /cpus /env/A /env/B /id /instances"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSemanticFaults(t *testing.T) {
	const host, docker = `{"id":"/a","cmd":"run"`, `{"id":"/a","container":{"docker":{"image":"i"}`
	for name, c := range map[string]struct{ body, path, text string }{
		"nothing to run":          {`{"id":"/a"}`, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."},
		"cmd and args":            {host + `,"args":["x"]}`, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."},
		"root":                    {`{"id":"/","cmd":"run"}`, "/id", "must not be root"},
		"reserved":                {`{"id":"/a/tasks","cmd":"run"}`, "/id", "must not end with any of the following reserved keywords: restart, tasks, versions, ., .."},
		"negative cpus":           {host + `,"cpus":-3}`, "/cpus", "got -3, expected 0 or more"},
		"negative instances":      {host + `,"instances":-1}`, "/instances", "got -1, expected 0 or more"},
		"docker not defined":      {`{"id":"/a","cmd":"run","container":{}}`, "/container/docker", "not defined"},
		"credential":              {`{"id":"/a","container":{"docker":{"image":"i","credential":{"principal":"p"}}}}`, "/container/docker/credential", "must be empty"},
		"mesos with network":      {`{"id":"/a","container":{"type":"MESOS","docker":{"image":"i","network":"USER"}}}`, "/container/docker/network", "must be empty"},
		"mesos with mappings":     {`{"id":"/a","container":{"type":"MESOS","docker":{"image":"i","portMappings":[]}}}`, "/container/docker/portMappings", "must be empty"},
		"mesos with parameters":   {`{"id":"/a","container":{"type":"MESOS","docker":{"image":"i","parameters":[{"key":"a","value":"b"}]}}}`, "/container/docker/parameters", "must be empty"},
		"network none":            {`{"id":"/a","container":{"docker":{"image":"i","network":"NONE"}}}`, "/container/docker/network", "NONE is not supported: every app has a network; use networks with mode container"},
		"ports twice":             {host + `,"ports":[1],"portDefinitions":[]}`, "/", "cannot specify both ports and port definitions"},
		"uris and fetch":          {host + `,"uris":["http://a/b"],"fetch":[{"uri":"http://a/b"}]}`, "/", "cannot specify both uris and fetch fields"},
		"networks and ipAddress":  {host + `,"networks":[{"mode":"host"}],"ipAddress":{}}`, "/networks", "must not specify both networks and ipAddress"},
		"networks twice":          {`{"id":"/a","networks":[],"container":{"docker":{"image":"i","network":"HOST"}}}`, "/networks", "must not specify both container.docker.network and networks"},
		"discovery with docker":   {docker + `},"ipAddress":{"discovery":{"ports":[{"number":1,"name":"a"}]}}}`, "/ipAddress/discovery", "must be empty with a DOCKER container; use container.portMappings"},
		"host and container":      {host + `,"networks":[{"mode":"host"},{"name":"blue"}]}`, "/networks", "must be either one host network, or one container/bridge network, or container networks with distinct names"},
		"two for docker":          {docker + `},"networks":[{"name":"blue"},{"name":"red"}]}`, "/networks", "may only specify a single container network with the DOCKER container type"},
		"host with name":          {host + `,"networks":[{"mode":"host","name":"blue"}]}`, "/networks(0)/name", "must be empty with mode host"},
		"port names":              {host + `,"portDefinitions":[{"name":"a"},{"name":"a"}]}`, "/portDefinitions", "Port names must be unique."},
		"port numbers":            {host + `,"portDefinitions":[{"port":80},{"port":80,"protocol":"udp,tcp"}]}`, "/portDefinitions", "Ports must be unique."},
		"check index":             {host + `,"ports":[],"healthChecks":[{"protocol":"TCP"}]}`, "/healthChecks(0)", "Health check port indices must address an element of the ports array or container port mappings."},
		"mesos checks":            {host + `,"healthChecks":[{"protocol":"MESOS_TCP"},{"protocol":"COMMAND","command":{"value":"x"}}]}`, "/", "AppDefinition can contain at most one Mesos health check"},
		"readiness":               {host + `,"readinessChecks":[{"portName":"x"}]}`, "/readinessChecks(0)/portName", "No port definition reference for portName x"},
		"undefined secret":        {host + `,"env":{"KEY":{"secret":"s"}}}`, "/env/KEY/secret", "references an undefined secret"},
		"empty env name":          {host + `,"env":{"":"x"}}`, "/env", "must not have an empty name"},
		"fetch uri":               {host + `,"fetch":[{"uri":"http://a/b"},{"uri":"http://a b"}]}`, "/fetch(1)/uri", "URI has invalid syntax."},
		"unreachable":             {host + `,"unreachableStrategy":{"inactiveAfterSeconds":2,"expungeAfterSeconds":1}}`, "/unreachableStrategy", "inactiveAfterSeconds (2) must be less or equal to expungeAfterSeconds, which is 1"},
		"role":                    {host + `,"role":"aRole"}`, "/role", "got aRole, expected one of: [*, dev, production, slave_public]"},
		"accepted roles":          {host + `,"role":"dev","acceptedResourceRoles":["x"]}`, "/acceptedResourceRoles", "acceptedResourceRoles can only contain * and dev"},
		"limit below request":     {host + `,"mem":256,"resourceLimits":{"mem":128}}`, "/resourceLimits/mem", "resource limit must be greater than or equal to requested resource (256.0)"},
		"constraint operator":     {host + `,"constraints":[["hostname","unique"]]}`, "/constraints(0)", `unknown operator "unique", expected UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER or IS`},
		"constraint regex":        {host + `,"constraints":[["a","UNIQUE"],["rack","LIKE","("]]}`, "/constraints(1)", `"(" is not a valid regular expression`},
		"constraint number":       {host + `,"constraints":[["rack","MAX_PER","x"]]}`, "/constraints(0)", `MAX_PER needs a number, got "x"`},
		"resident and reachable":  {`{"id":"/a","cmd":"run","unreachableStrategy":{},"container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}}]}}`, "/", "unreachableStrategy must be disabled for resident tasks"},
		"resident over capacity":  {`{"id":"/a","cmd":"run","upgradeStrategy":{"minimumHealthCapacity":0,"maximumOverCapacity":1},"container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}}]}}`, "/upgradeStrategy/maximumOverCapacity", "got 1.0, expected 0.0"},
		"persistent path":         {`{"id":"/a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"/d","mode":"RW","persistent":{"size":1}}]}}`, "/container/volumes(0)/containerPath", "must be a name without '/', relative to the sandbox"},
		"single instance":         {host + `,"instances":2,"upgradeStrategy":{"minimumHealthCapacity":0,"maximumOverCapacity":0},"labels":{"MARATHON_SINGLE_INSTANCE_APP":"true"}}`, "/instances", "must be at most 1 with label MARATHON_SINGLE_INSTANCE_APP"},
		"check with docker":       {docker + `},"check":{"tcp":{}}}`, "/check", "must be empty with container type DOCKER; use healthChecks"},
		"two kinds of check":      {host + `,"check":{"tcp":{},"exec":{"command":{"shell":"x"}}}}`, "/check", "must have exactly one of http, tcp and exec"},
		"unknown network name":    {docker + `,"portMappings":[{"networkNames":["red"]}]},"networks":[{"name":"blue"}]}`, "/container/portMappings(0)/networkNames(0)", `no network with name "red"`},
		"linuxInfo with docker":   {docker + `,"linuxInfo":{}}}`, "/container/linuxInfo", "must be empty"},
		"gpus with docker":        {docker + `},"gpus":1}`, "/", "GPU resources only work with the Mesos containerizer"},
		"external without driver": {`{"id":"/a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","external":{"provider":"dvdi","name":"n"}}]}}`, "/container/volumes(0)/external/options", "must have dvdi/driver"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeApp([]byte(c.body), testOptions())
			f := asFaults(t, err)
			if f.Message != "Object is not valid" || f.at(c.path) != c.text {
				t.Errorf("got %v, want %q at %s", f, c.text, c.path)
			}
		})
	}
}

func TestFeaturesAreOffByDefault(t *testing.T) {
	for name, c := range map[string]struct{ body, path, text string }{
		"secrets": {`{"id":"/a","cmd":"run","env":{"K":{"secret":"s"}},"secrets":{"s":{"source":"x"}}}`, "/secrets",
			"Feature secrets is not enabled. Enable with --enable_features secrets)"},
		"gpus": {`{"id":"/a","cmd":"run","gpus":1}`, "/gpus",
			"Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)"},
		"external": {`{"id":"/a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","external":{"name":"n","provider":"dvdi","options":{"dvdi/driver":"rexray"}}}]}}`,
			"/container/volumes(0)/external", "Feature external_volumes is not enabled. Enable with --enable_features external_volumes)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeApp([]byte(c.body), Options{})
			if f := asFaults(t, err); f.at(c.path) != c.text {
				t.Errorf("got %v", f)
			}
			if _, err := DecodeApp([]byte(c.body), testOptions()); err != nil {
				t.Errorf("enabled: %v", err)
			}
		})
	}
}

func TestNetworkWithoutNameOrDefault(t *testing.T) {
	_, err := DecodeApp([]byte(`{"id":"/a","cmd":"run","networks":[{"mode":"container"}]}`), Options{})
	if f := asFaults(t, err); f.at("/networks") != "Network name must be specified when container network is selected." {
		t.Errorf("got %v", f)
	}
}
