//go:build integration && slow

package integration

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// Where Debian's packages keep what is no program on PATH.
const (
	postgresPrograms = "/usr/lib/postgresql/*/bin"
	zabbixFrontend   = "/usr/share/zabbix"
	zabbixSchema     = "/usr/share/zabbix-server-pgsql"
	zabbixSettings   = "/etc/zabbix" // the frontend reads its settings here and nowhere else
)

// requireZabbix is requireReal for the Debian packages of a Zabbix server.
func requireZabbix(t *testing.T) {
	t.Helper()
	var missing []string
	for _, program := range []string{"zabbix_server", "zabbix_agentd", "php", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	for _, pattern := range []string{postgresPrograms + "/initdb", zabbixFrontend + "/api_jsonrpc.php", zabbixSchema + "/schema.sql.gz"} {
		if found, err := filepath.Glob(pattern); err != nil || len(found) == 0 {
			missing = append(missing, pattern)
		}
	}
	if zabbixProxy() == "" {
		missing = append(missing, "zabbix_proxy")
	}
	if len(missing) == 0 {
		return
	}
	reason := "no " + strings.Join(missing, ", no ") + ": run scripts/install-deps slow"
	if os.Getenv("BERTH_REQUIRE_REAL") == "1" {
		t.Fatalf("BERTH_REQUIRE_REAL=1, and %s", reason)
	}
	skipped.Add(1)
	t.Skipf("*** SKIPPED: %s", reason)
}

// zabbix is a whole Zabbix: database, server and frontend, all in one folder and on loopback, and gone after the test.
type zabbix struct {
	t     *testing.T
	dir   string
	url   string // of the JSON-RPC API
	token string // of the session
	host  string // id of the host with Berth's agent
	app   string // whose items are looked at
	port  string // where the server takes values
	proxy string // id of the proxy that is to monitor what createHost makes, "" for the server itself
}

// startZabbix sets up a new Zabbix as an operator does: the schema as delivered, no settings but the necessary. Its server listens
// on loopback, and on these.
func startZabbix(t *testing.T, app string, listen ...netip.Addr) *zabbix {
	t.Helper()
	z := &zabbix{t: t, dir: openFolder(t), app: app}
	z.startDatabase()
	z.startServer(listen)
	z.startFrontend()
	return z
}

// openFolder is one that other users may enter: every part runs as its own, as installed.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth-zabbix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startDatabase makes a PostgreSQL cluster that listens on a unix socket only and believes the kernel who is asking.
func (z *zabbix) startDatabase() {
	z.t.Helper()
	program := z.program
	cluster, socket := z.folder("cluster", "postgres"), z.folder("socket", "postgres")

	z.run("postgres", nil, program("initdb"), "-D", cluster, "-A", "peer", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
	// The data lives as long as the test, so no write needs to survive anything.
	z.daemon("postgres", syscall.SIGINT, as(z.t, "postgres", program("postgres"), "-D", cluster, "-k", socket, "-h", "",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"))
	rig.Eventually(z.t, 30*time.Second, "PostgreSQL answers", func() error {
		out, err := as(z.t, "postgres", program("pg_isready"), "-h", socket).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	z.run("postgres", nil, program("createuser"), "-h", socket, "zabbix")
	z.run("postgres", nil, program("createdb"), "-h", socket, "-O", "zabbix", "zabbix")
	// The server would watch itself, by whatever agent this machine has.
	tidy := strings.NewReader("UPDATE hosts SET status = 1 WHERE host = 'Zabbix server';\n")
	z.run("zabbix", io.MultiReader(z.unpacked("schema"), z.unpacked("images"), z.unpacked("data"), tidy),
		program("psql"), "-h", socket, "-q", "-v", "ON_ERROR_STOP=1", "zabbix")
}

// program is one of PostgreSQL's, of the newest version that is here.
func (z *zabbix) program(name string) string {
	programs, _ := filepath.Glob(postgresPrograms)
	slices.Sort(programs)
	return filepath.Join(programs[len(programs)-1], name)
}

// unpacked is one of the files that make a new Zabbix database.
func (z *zabbix) unpacked(name string) io.Reader {
	z.t.Helper()
	f, err := os.Open(filepath.Join(zabbixSchema, name+".sql.gz"))
	if err != nil {
		z.t.Fatal(err)
	}
	z.t.Cleanup(func() { f.Close() })
	r, err := gzip.NewReader(f)
	if err != nil {
		z.t.Fatal(err)
	}
	return r
}

func (z *zabbix) startServer(listen []netip.Addr) {
	z.t.Helper()
	port := lowPort(z.t)
	z.port = port
	settings := z.write("server.conf",
		"LogType=console", "ListenIP="+loopbackAnd(listen), "ListenPort="+port, "SocketDir="+z.folder("server", "zabbix"),
		"PidFile="+z.dir+"/server/server.pid", "DBHost="+z.dir+"/socket", "DBName=zabbix", "DBUser=zabbix",
		"CacheUpdateFrequency=1", // seconds until it sees what was configured
		"HousekeepingFrequency=0", "StartPollers=2", "StartPingers=0", "StartDiscoverers=0", "StartHTTPPollers=0", "StartODBCPollers=0")
	exited := z.daemon("zabbix_server", syscall.SIGTERM, exec.Command("zabbix_server", "-f", "-c", settings))
	z.listens(port, exited)
}

// startProxy runs a proxy of the server, which listens on loopback and on these, and asks the server each so many seconds what there is to
// be monitored. It returns its id and its port.
func (z *zabbix) startProxy(every int, listen ...netip.Addr) (id, port string) {
	z.t.Helper()
	var made struct{ ProxyIDs []string }
	z.want("proxy.create", map[string]any{"host": "berth-proxy", "status": 5}, &made) // 5: it asks the server for its settings
	port = lowPort(z.t)
	dir := z.folder("proxy", "zabbix")
	settings := z.write("proxy.conf",
		"LogType=console", "Hostname=berth-proxy", "Server=127.0.0.1:"+z.port, "ListenIP="+loopbackAnd(listen), "ListenPort="+port,
		"SocketDir="+dir, "PidFile="+dir+"/proxy.pid", "DBName="+dir+"/proxy.db", "ConfigFrequency="+strconv.Itoa(every), "DataSenderFrequency=1",
		"HousekeepingFrequency=0", "StartPollers=2", "StartPingers=0", "StartDiscoverers=0", "StartHTTPPollers=0", "StartODBCPollers=0")
	exited := z.daemon("zabbix_proxy", syscall.SIGTERM, exec.Command(zabbixProxy(), "-f", "-c", settings))
	z.listens(port, exited)
	return made.ProxyIDs[0], port
}

// learn has the proxy, if there is one, ask the server what there is to be monitored.
func (z *zabbix) learn() error {
	if z.proxy == "" {
		return nil
	}
	out, err := exec.CommandContext(z.t.Context(), zabbixProxy(), "-c", filepath.Join(z.dir, "proxy.conf"), "-R", "config_cache_reload").CombinedOutput()
	if err != nil {
		return fmt.Errorf("have the proxy look again: %w: %s", err, out)
	}
	return nil
}

// zabbixProxy is the proxy's program, or "". Debian's package and that of the server exclude each other, so it is usually not on PATH but
// where scripts/install-deps has unpacked it.
func zabbixProxy() string {
	if cache, err := os.UserCacheDir(); err == nil {
		if path, err := exec.LookPath(filepath.Join(cache, "berth", "zabbix_proxy")); err == nil {
			return path
		}
	}
	path, _ := exec.LookPath("zabbix_proxy")
	return path
}

func loopbackAnd(more []netip.Addr) string {
	addresses := "127.0.0.1"
	for _, a := range more {
		addresses += "," + a.String()
	}
	return addresses
}

// startFrontend runs the API under PHP's own web server. It may read its settings from one place only, which may be the
// machine's own, so it gets a mount namespace in which our folder lies there.
func (z *zabbix) startFrontend() {
	z.t.Helper()
	port := lowPort(z.t)
	settings := z.folder("frontend", "zabbix")
	z.write("frontend/zabbix.conf.php", "<?php", "$DB['TYPE'] = 'POSTGRESQL';", "$DB['SERVER'] = '"+z.dir+"/socket';",
		"$DB['PORT'] = '0';", "$DB['DATABASE'] = 'zabbix';", "$DB['USER'] = 'zabbix';", "$DB['PASSWORD'] = '';", "$DB['SCHEMA'] = '';",
		"$DB['ENCRYPTION'] = false;", "$DB['DOUBLE_IEEE754'] = true;", "$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;")
	cmd := exec.Command("sh", "-c", `mount --bind "$1" "$2" && shift 2 && exec setpriv --reuid zabbix --regid zabbix --init-groups "$@"`,
		"sh", settings, zabbixSettings, "php", "-q", "-d", "max_execution_time=60", "-S", "127.0.0.1:"+port, "-t", zabbixFrontend)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	exited := z.daemon("php", syscall.SIGTERM, cmd)
	z.listens(port, exited)
	z.url = "http://127.0.0.1:" + port + "/api_jsonrpc.php"
	z.want("user.login", map[string]string{"username": "Admin", "password": "zabbix"}, &z.token)
}

// startAgent runs the host's agent with Berth's items, and returns its port.
func (z *zabbix) startAgent(b *rig.Berth) string {
	z.t.Helper()
	client := filepath.Join(z.dir, "berth-zabbix")
	build := exec.CommandContext(z.t.Context(), "go", "build", "-o", client, "../cmd/berth-zabbix")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		z.t.Fatalf("build berth-zabbix: %v\n%s", err, out)
	}
	// The agent's user must come to Berth's socket; on a real host, the run folder is below /run.
	if err := os.Chmod(b.Dir, 0o711); err != nil {
		z.t.Fatal(err)
	}
	parameters := z.write("berth.conf", b.CLI("zabbix-parameters", "--binary", client, "--run-dir", filepath.Join(b.Dir, "run")))
	port := lowPort(z.t)
	settings := z.write("agentd.conf",
		"LogType=console", "Server=127.0.0.1", "ListenIP=127.0.0.1", "ListenPort="+port, "Hostname=berth-host",
		"PidFile="+z.folder("agent", "zabbix")+"/agentd.pid", "Include="+parameters)
	exited := z.daemon("zabbix_agentd", syscall.SIGTERM, exec.Command("zabbix_agentd", "-f", "-c", settings))
	z.listens(port, exited)
	return port
}

// folder makes one below ours for a user.
func (z *zabbix) folder(name, owner string) string {
	z.t.Helper()
	dir := filepath.Join(z.dir, name)
	uid, gid := ids(z.t, owner)
	if err := os.Mkdir(dir, 0o755); err != nil {
		z.t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		z.t.Fatal(err)
	}
	return dir
}

func (z *zabbix) write(name string, lines ...string) string {
	z.t.Helper()
	path := filepath.Join(z.dir, name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		z.t.Fatal(err)
	}
	return path
}

func ids(t *testing.T, name string) (uid, gid uint32) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid64, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid64, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatalf("user %s: %v, %v", name, err1, err2)
	}
	return uint32(uid64), uint32(gid64)
}

// as is a command that runs as another user, in a folder that this user may enter.
func as(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	uid, gid := ids(t, name)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return cmd
}

// run runs a program to its end.
func (z *zabbix) run(name string, stdin io.Reader, args ...string) {
	z.t.Helper()
	cmd := as(z.t, name, args...)
	cmd.Stdin = stdin
	if out, err := cmd.CombinedOutput(); err != nil {
		z.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// daemon runs a program until the test ends, and then asks it to quit by a signal. Its children are in its process group:
// if it does not obey, they go with it.
func (z *zabbix) daemon(name string, quit syscall.Signal, cmd *exec.Cmd) (exited <-chan struct{}) {
	z.t.Helper()
	log, err := os.Create(filepath.Join(z.dir, name+".log"))
	if err != nil {
		z.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		z.t.Fatalf("start %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	z.t.Cleanup(func() {
		defer log.Close()
		_ = cmd.Process.Signal(quit)
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			z.t.Errorf("%s did not end within 15 s of %v", name, quit)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if z.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			lines := strings.Split(string(text), "\n")
			z.t.Logf("log of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	return ended
}

// listens waits until a daemon accepts connections.
func (z *zabbix) listens(port string, exited <-chan struct{}) {
	z.t.Helper()
	rig.Eventually(z.t, 30*time.Second, "something listens on port "+port, func() error {
		select {
		case <-exited:
			z.t.Fatalf("it ended at once")
		default:
		}
		c, err := new(net.Dialer).DialContext(z.t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// lowPort is a free one below 32768: Zabbix's daemons take no other, and the kernel gives only those above away.
func lowPort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}
