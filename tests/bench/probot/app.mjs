// An app as Probot's users write it: it looks at each new comment. Probot keeps nothing of what it answered with "ok".
export default (app) => {
  app.on("issue_comment.created", async (context) => {
    if (context.payload.comment.body.startsWith("/never")) app.log.info("asked");
  });
};
