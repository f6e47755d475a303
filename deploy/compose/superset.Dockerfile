# The image of the pipeline with Superset in an environment of its own. compose.yaml names the image it begins with.
FROM pipeline

USER root
COPY superset/requirements.lock superset/requirements.lock
RUN make superset-install
COPY superset superset
USER acl_assets

CMD ["/opt/acl_assets/.venv/bin/python", "-m", "acl_assets.superset", "start", "--host", "0.0.0.0", "--port", "8088"]
