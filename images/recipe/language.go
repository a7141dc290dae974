package recipe

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Where a language's application lies in the image, and as whom it runs.
const (
	appDir  = "/srv/app"
	appUser = "app"
)

// choice is what a language brings, after a look at the application. All of it is Debian's own packages.
type choice struct {
	packages, users []string
	files           []File
	first           []File   // what the dependencies are installed from
	setup           []string // installs them
	own             []Entry  // files that this package makes, below ownAt
	ownAt           string
	services        []Service
	environment     []Var
	ports           []int
	build           *Stage
}

// choose looks at the application.
func (d *draft) choose() {
	if d.Language == "" {
		return
	}
	if info, err := fs.Stat(d.dir, path.Clean(d.App)); err != nil || !info.IsDir() {
		d.fault("app", "there is no folder %s", d.App)
		return
	}
	switch d.Language {
	case PHP:
		d.php()
	case Node:
		d.node()
	case Python:
		d.python()
	case Java:
		d.java()
	case Go:
		d.golang()
	}
}

func (d *draft) inApp(name string) string { return path.Join(path.Clean(d.App), name) }

func (d *draft) has(name string) bool {
	_, err := fs.Stat(d.dir, d.inApp(name))
	return err == nil
}

// port is the first that the recipe names, or the language's own.
func (d *draft) port(usual int) int {
	if len(d.Ports) > 0 {
		return d.Ports[0]
	}
	d.lang.ports = []int{usual}
	return usual
}

// appService adds the language's one service, unless the recipe has services of its own. The port is also the service's own variable: Berth, as
// Marathon, gives each container another PORT, on which neither the image's health check nor anybody else would look for the application.
func (d *draft) appService(port int, command ...string) {
	at := Var{"PORT", fmt.Sprint(port)}
	for _, v := range d.Environment {
		if v.Name == at.Name {
			at = v
		}
	}
	d.lang.services = []Service{{Name: d.serviceName(), Command: command, User: appUser, Directory: appDir, Order: 50, Environment: []Var{at}}}
	d.lang.environment = append(d.lang.environment, at)
}

// serviceName is the last word of the image's name.
func (d *draft) serviceName() string {
	name := path.Base(d.Name)
	if name == "app" { // which is what the container's arguments run as
		return "application"
	}
	return name
}

// noService says that nothing was found that could be started.
func (d *draft) noService(format string, args ...any) {
	if len(d.Services) == 0 {
		d.fault("services", format+"; say under services what shall run", args...)
	}
}

// php is Apache with PHP inside: what .htaccess says goes, as on most servers that PHP applications come from.
func (d *draft) php() {
	c := &d.lang
	c.packages = []string{"apache2", "libapache2-mod-php"}
	c.files = []File{{Source: d.App, Destination: appDir + "/"}}
	root := appDir
	if d.has("public") {
		root += "/public"
	}
	port := d.port(80)
	c.ownAt = "/etc/apache2/"
	c.own = []Entry{
		content("ports.conf", fmt.Sprintf("Listen %d\n", port), 0o644),
		content("sites-available/000-default.conf", fmt.Sprintf(`<VirtualHost *:%d>
	DocumentRoot %s
	ErrorLog /dev/stderr
	CustomLog /dev/stdout combined
	<Directory %s>
		AllowOverride All
		Require all granted
	</Directory>
</VirtualHost>
`, port, root, root), 0o644),
		{Name: "mods-enabled/rewrite.load", Link: "../mods-available/rewrite.load", Mode: 0o777},
	}
	c.services = []Service{{
		// The name of the package's own service, in whose place this one is.
		Name: "apache2", Order: 50, Shell: true,
		Command: []string{"mkdir -p /run/apache2 /run/lock/apache2; rm -f /run/apache2/apache2.pid; . /etc/apache2/envvars; exec /usr/sbin/apache2 -DFOREGROUND"},
	}}
}

func (d *draft) node() {
	c := &d.lang
	c.packages, c.users = []string{"nodejs"}, []string{appUser}
	c.files = []File{{Source: d.App, Destination: appDir + "/"}}
	c.environment = []Var{{"NODE_ENV", "production"}}
	var about struct {
		Main         string            `json:"main"`
		Dependencies map[string]string `json:"dependencies"`
	}
	if text, err := fs.ReadFile(d.dir, d.inApp("package.json")); err == nil {
		if err := json.Unmarshal(text, &about); err != nil {
			d.fault("app", "package.json: %v", err)
			return
		}
	}
	if len(about.Dependencies) > 0 && (!d.has("node_modules") || d.ignored("node_modules")) {
		c.packages = append(c.packages, "npm")
		c.first = []File{{Source: d.inApp("package.json"), Destination: appDir + "/package.json"}}
		c.setup = []string{"cd " + appDir, "npm install --omit=dev --no-audit --no-fund", "rm -rf /root/.npm"}
		if d.has("package-lock.json") {
			c.first = append(c.first, File{Source: d.inApp("package-lock.json"), Destination: appDir + "/package-lock.json"})
			c.setup[1] = "npm ci --omit=dev --no-audit --no-fund"
		}
	}
	for _, main := range []string{about.Main, "server.js", "index.js", "app.js", "main.js"} {
		if main != "" && d.has(main) {
			d.appService(d.port(3000), "node", main)
			return
		}
	}
	d.noService("the application has no package.json with a main, no server.js, index.js, app.js or main.js")
}

func (d *draft) python() {
	c := &d.lang
	c.packages, c.users = []string{"python3"}, []string{appUser}
	c.files = []File{{Source: d.App, Destination: appDir + "/"}}
	c.environment = []Var{{"PYTHONUNBUFFERED", "1"}}
	python := "python3"
	if d.has("requirements.txt") {
		c.packages = append(c.packages, "python3-venv")
		c.first = []File{{Source: d.inApp("requirements.txt"), Destination: appDir + "/requirements.txt"}}
		c.setup = []string{"python3 -m venv --system-site-packages /srv/venv", "/srv/venv/bin/pip install --no-cache-dir -r " + appDir + "/requirements.txt"}
		python = "/srv/venv/bin/python3"
	}
	if d.has("wsgi.py") {
		c.packages = append(c.packages, "gunicorn")
		port := d.port(8000)
		d.appService(port, python, "-m", "gunicorn", "--bind", fmt.Sprintf("0.0.0.0:%d", port), "wsgi:application")
		return
	}
	for _, main := range []string{"app.py", "main.py", "server.py"} {
		if d.has(main) {
			d.appService(d.port(8000), python, main)
			return
		}
	}
	d.noService("the application has no wsgi.py, app.py, main.py or server.py")
}

// java runs the one jar that the application's own build made. The sources stay outside.
func (d *draft) java() {
	c := &d.lang
	c.packages, c.users = []string{"default-jre-headless"}, []string{appUser}
	var jars []string
	for _, folder := range []string{"", "target", "build/libs"} {
		found, err := fs.Glob(d.dir, path.Join(d.inApp(folder), "*.jar"))
		if err != nil {
			continue // the pattern is right, unless a folder is called like one
		}
		for _, jar := range found {
			name := strings.TrimSuffix(jar, ".jar")
			if !strings.HasSuffix(name, "-sources") && !strings.HasSuffix(name, "-javadoc") && !strings.HasSuffix(name, "-plain") {
				jars = append(jars, jar)
			}
		}
	}
	port := d.port(8080)
	switch {
	case len(jars) == 1:
		c.files = []File{{Source: jars[0], Destination: appDir + "/app.jar"}}
		d.appService(port, "java", "-jar", appDir+"/app.jar")
	case len(d.Services) > 0:
		c.files = []File{{Source: d.App, Destination: appDir + "/"}}
	case len(jars) > 1:
		d.fault("app", "which of %s is the application? Say app: and files:, or remove the others", strings.Join(jars, ", "))
	default:
		d.fault("app", "there is no jar in it, in target or in build/libs: build the application first (mvn package, gradle build)")
	}
}

// golang builds a module in a container of its own, or takes a program that was built already.
func (d *draft) golang() {
	c := &d.lang
	c.users = []string{appUser}
	program := path.Base(d.Name)
	port := d.port(8080)
	if !d.has("go.mod") {
		if !d.has(program) {
			d.fault("app", "there is neither a go.mod in it nor a program %s", program)
			return
		}
		c.files = []File{{Source: d.inApp(program), Destination: appDir + "/" + program, Mode: 0o755}}
		d.appService(port, appDir+"/"+program)
		return
	}
	what := "."
	if mains, _ := fs.Glob(d.dir, d.inApp("*.go")); len(mains) == 0 {
		commands, _ := fs.Glob(d.dir, d.inApp("cmd/*"))
		at := slices.IndexFunc(commands, func(c string) bool { return path.Base(c) == program })
		switch {
		case at >= 0:
			what = "./cmd/" + program
		case len(commands) == 1:
			what = "./cmd/" + path.Base(commands[0])
		default:
			d.fault("app", "no package main in it, and not one in cmd that is called %s", program)
			return
		}
	}
	c.build = &Stage{
		Base: d.Base, Packages: []string{"golang-go"}, Source: d.App, Output: "/out/", Destination: appDir + "/",
		Commands: []string{
			"export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOCACHE=/tmp/go-build",
			"go build -trimpath -ldflags '-s -w' -o /out/" + quoted(program) + " " + quoted(what),
			"rm -rf /tmp/go-build",
		},
	}
	d.appService(port, appDir+"/"+program)
}

// prepare installs the application's dependencies before its files, as those change more often.
func (d *draft) prepare() {
	if len(d.lang.own) > 0 {
		at := d.next()
		var needs []Entry
		for _, e := range d.lang.own {
			e.Name = at + "/" + e.Name
			needs = append(needs, e)
		}
		d.add(Step{Title: "set up " + string(d.Language), Text: "COPY " + words(at+"/", d.lang.ownAt), Needs: needs})
	}
	d.copyFiles("app", d.lang.first)
	d.run("install the application's dependencies", d.lang.setup)
}
