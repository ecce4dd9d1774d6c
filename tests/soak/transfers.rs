//! Large transfers: files into and out of containers, and images that are imported, saved and
//! loaded.

use std::fs::{self, File};
use std::io::{Read, Write, empty};

use support::Kind;

use crate::builds::check_file;
use crate::client::{Client, Done, Fail, request, success, wrong};
use crate::operation::Operation;
use crate::tar;

pub fn copy(op: &mut Operation<'_>) -> Done {
    let name = op.name("copy");
    op.container(&name, "true")?;
    let length = op.length();
    let data = op.data(length);
    let (archive, n) = tar::archive(&[], "data", data.clone());
    let head = format!(
        "PUT /containers/{name}/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n"
    );
    let mut client = op.proxy()?;
    op.upload(&mut client, &head, archive, n)?;
    success(&client.response()?)?;
    op.compared(length);
    check_file(op, &name, "/tmp/data", data)?;
    op.remove(Kind::Container, &name)
}

pub fn copy_command(op: &mut Operation<'_>) -> Done {
    let name = op.name("copy");
    op.container(&name, "true")?;
    let length = op.length();
    let data = op.data(length);
    let (sent, came) = (op.path("sent"), op.path("came"));
    fs::write(&sent, data.clone().bytes())?;
    let inside = format!("{name}:/tmp/data");
    op.succeed(op.docker(&["cp", sent.to_str().unwrap(), &inside]), empty())?;
    op.succeed(op.docker(&["cp", &inside, came.to_str().unwrap()]), empty())?;
    let mut expected = data;
    expected.check(&fs::read(&came)?).or_else(wrong)?;
    if expected.left() > 0 {
        return wrong(format!("the copied file misses {} bytes", expected.left()));
    }
    op.compared(2 * length);
    op.remove(Kind::Container, &name)
}

/// Starts to save an image. Returns a reader of the archive.
fn save<'c>(client: &'c mut Client, image: &str) -> Done<impl Read + use<'c>> {
    client.send(request("GET", &format!("/images/{image}/get"), None))?;
    let head = client.head()?;
    match head.status() {
        200 => Ok(client.body(&head)),
        status => Err(Fail::said(status, "save")),
    }
}

/// Imports an image of `length` bytes and saves it to a file, comparing that with what the daemon
/// saves past the proxy. Then removes the image and loads it from the file.
fn images(op: &mut Operation<'_>, length: u64) -> Done {
    let image = op.name("image");
    let data = op.data(length);
    let (archive, n) = tar::archive(&[], "data", data.clone());
    let head = format!(
        "POST /images/create?fromSrc=-&repo={image}&tag=latest HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n"
    );
    let mut client = op.proxy()?;
    op.upload(&mut client, &head, archive, n)?;
    let answer = client.response()?;
    success(&answer)?;
    if String::from_utf8_lossy(&answer.body).contains("\"error\"") {
        return Err(Fail::Declined(
            String::from_utf8_lossy(&answer.body).into_owned(),
        ));
    }
    let id = op.check_labels(Kind::Image, &image)?["Id"].clone();

    let path = op.path("image.tar");
    let mut file = File::create(&path)?;
    let (mut ours, mut theirs) = (op.proxy()?, op.soak.engine.connect()?);
    let mut through = save(&mut ours, &image)?;
    let mut past = save(&mut theirs, &image)?;
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut saved = 0;
    loop {
        let n = through.read(&mut a)?;
        if n == 0 {
            break;
        }
        past.read_exact(&mut b[..n])?;
        if a[..n] != b[..n] {
            return wrong(format!("the saved image differs after {saved} bytes"));
        }
        file.write_all(&a[..n])?;
        saved += n as u64;
    }
    if past.read(&mut b)? > 0 || saved < length {
        return wrong(format!("the saved image ends after {saved} bytes"));
    }
    drop((through, past, file));
    op.remove(Kind::Image, &image)?;

    if op.random.one_in(2) {
        op.succeed(
            op.docker(&["load", "--input", path.to_str().unwrap()]),
            empty(),
        )?;
    } else {
        let head =
            "POST /images/load?quiet=1 HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n";
        let mut client = op.proxy()?;
        op.upload(&mut client, head, File::open(&path)?, saved)?;
        let answer = client.response()?;
        success(&answer)?;
    }
    // The daemon has verified the layers, and the ID covers them.
    if op.check_labels(Kind::Image, &image)?["Id"] != id {
        return wrong(format!("the loaded image is another than {id}"));
    }
    op.compared(length + 2 * saved);
    op.remove(Kind::Image, &image)
}

pub fn save_and_load(op: &mut Operation<'_>) -> Done {
    let length = 1 + op.random.below(4 * op.soak.most_data);
    images(op, length)
}

pub fn save_and_load_large(op: &mut Operation<'_>) -> Done {
    images(op, op.soak.large_image)
}
