package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

// What a real engine (20.10) said of one container, to docker ps and to docker inspect.
var (
	//go:embed engine/listed.json
	listedModel []byte
	//go:embed engine/inspected.json
	inspectedModel []byte
)

// engineDouble answers what `berth agent --alone` asks a Docker Engine, for sleepers in the place of containers: the agent does all
// that it does with a real one, and 300 containers need not be started. Nothing changes, so the stream of events stays silent.
type engineDouble struct {
	listed    []any
	inspected map[string][]byte
}

// serveEngine runs one on a unix socket and returns its address.
func serveEngine(t *bench, dir string, all []sleeper) string {
	e := &engineDouble{inspected: map[string][]byte{}}
	for i, s := range all {
		if err := e.add(i, s); err != nil {
			t.Fatalf("describe %s: %v", s.name, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("GET /{version}/info", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"ID": "bench", "Name": "bench", "ServerVersion": "20.10.24", "LiveRestoreEnabled": true, "DockerRootDir": dir})
	})
	mux.HandleFunc("GET /{version}/containers/json", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.listed) })
	mux.HandleFunc("GET /{version}/containers/{id}/json", func(w http.ResponseWriter, r *http.Request) {
		said, ok := e.inspected[r.PathValue("id")]
		if !ok {
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(said)
	})
	mux.HandleFunc("GET /{version}/events", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	socket := filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatalf("serve the containers: %v", err)
	}
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return t.ctx }}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// object is a JSON object whose content the engine knows.
type object = map[string]any

// add describes one sleeper as the engine would: each third a real Marathon's task, with shares and a limit of memory, the others of
// docker run with Registrator's variables; all with half a core and a published port.
func (e *engineDouble) add(i int, s sleeper) error {
	var short, long object
	if err := json.Unmarshal(listedModel, &short); err != nil {
		return err
	}
	if err := json.Unmarshal(inspectedModel, &long); err != nil {
		return err
	}
	port := strconv.Itoa(20000 + i)
	env := []string{"SERVICE_NAME=bench-" + strconv.Itoa(i/10), "SERVICE_TAGS=a,b", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if i%3 == 0 {
		env = append(env[2:], "HOST=127.0.0.1", "PORT="+port, "PORTS="+port, "PORT0="+port, "PORT_80="+port, "PORT_HTTP="+port,
			fmt.Sprintf("MARATHON_APP_ID=/bench/app-%d", i/10), "MARATHON_APP_VERSION=2026-01-02T03:04:05.678Z", "MARATHON_APP_DOCKER_IMAGE=berth/base:bookworm",
			"MARATHON_APP_RESOURCE_CPUS=0.5", "MARATHON_APP_RESOURCE_MEM=128.0", "MARATHON_APP_RESOURCE_DISK=0.0", "MARATHON_APP_RESOURCE_GPUS=0",
			"MARATHON_APP_LABELS=BERTH_TAGS", "MARATHON_APP_LABEL_BERTH_TAGS=a,b",
			fmt.Sprintf("MESOS_TASK_ID=bench_app-%d.instance-%s._app.1", i/10, s.id[52:]), fmt.Sprintf("MESOS_CONTAINER_NAME=mesos-%s", s.id[32:]), "MESOS_SANDBOX=/mnt/mesos/sandbox")
	}
	limits := object{"CgroupParent": s.parent}
	if i%3 == 0 {
		limits["CpuShares"], limits["Memory"], limits["NanoCpus"] = 512, 128<<20, 0
	}
	networks := object{"bridge": object{"IPAddress": fmt.Sprintf("172.17.%d.%d", i/200+1, i%200+2), "MacAddress": fmt.Sprintf("02:42:ac:11:%02x:%02x", i/200+1, i%200+2)}}
	over(short, object{"Id": s.id, "Names": []string{"/" + s.name}, "Created": s.started.Unix(), "NetworkSettings": object{"Networks": networks}})
	over(long, object{
		"Id": s.id, "Name": "/" + s.name, "Created": s.started.Format(time.RFC3339Nano),
		"State": object{"Pid": s.pid, "StartedAt": s.started.Format(time.RFC3339Nano)}, "HostConfig": limits,
		"Config":          object{"Hostname": s.id[:12], "Env": env},
		"NetworkSettings": object{"Ports": object{"80/tcp": []object{{"HostIp": "0.0.0.0", "HostPort": port}}}, "Networks": networks},
	})
	said, err := json.Marshal(long)
	e.listed, e.inspected[s.id] = append(e.listed, short), said
	return err
}

// over lays what differs over a model.
func over(model, differs object) {
	for key, v := range differs {
		below, deep := v.(object)
		if was, ok := model[key].(object); ok && deep {
			over(was, below)
			continue
		}
		model[key] = v
	}
}
