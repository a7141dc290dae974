// Package admit decides what an installation lets a definition do. In: a valid app and the operators' policy. Out: nil, or
// every refusal with its path, its reason and the way out. It never changes the app, and it does no I/O.
//
// The API is root on every host, so the default is closed: a definition may shape its own container, and reach nothing
// outside of it. That is what the rules below keep to:
//
//   - docker run parameters: an allow-list of options that act inside the container (param.go). Some belong to Berth, which
//     stamps them itself (identity, address, quota, mounts); no policy opens those. Others open the host and can be
//     allowed one by one.
//   - privileged containers and the host's network stack only where the policy says so. Marathon's network mode "host" is
//     not the host's network: such an app gets an address of its own; the docker parameter net=host is what asks for it.
//   - host paths only below the policy's prefixes, compared after cleaning. The path on the host is not looked at: symbolic
//     links below an allowed prefix are followed by the engine, so whoever may write there, containers with such a volume
//     included, decides where the paths below it lead. Allow only trees in which you would trust their writers with the host,
//     or mount them read-only.
//   - labels: "berth." is Berth's on containers, and "BERTH_" keys are known ones, so that a misspelt one is an error
//     instead of an app that silently lacks what it asked for.
//   - pods are held to the same rules as apps; their containers' paths may also be relative to their sandbox.
//   - what Berth would have to ignore (Mesos executors, persistent volumes, linuxInfo) is refused instead.
package admit
